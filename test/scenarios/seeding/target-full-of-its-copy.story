# The target has room for the seed's copy and not for it all. The run fails and leaves nothing; without the seed it needs no less, and with room it works.
vm web on production
bring vda of web to recovery as /recovery/media/web.qcow2
protect web from production to recovery: seed vda:/recovery/media/web.qcow2
storage of recovery has 256 KiB left
run web
storage of recovery has 8 MiB left
run web
