# The target stops answering while the seed is read. The run fails, and once the target is back the seed is served to nobody; the next run begins with it again.
vm web on production
bring vda of web to recovery as /recovery/media/web.qcow2, without block 3
protect web from production to recovery: seed vda:/recovery/media/web.qcow2
fault at recovery.mover.transfer: away-before
run web
wait 10 min
sweep
run web
