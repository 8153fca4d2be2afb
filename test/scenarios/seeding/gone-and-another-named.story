# The file that was named is gone when the first run wants it. The run says so and what to do; another one is named, and the run goes on with that.
vm web on production
bring vda of web to recovery as /recovery/media/old.qcow2
protect web from production to recovery: seed vda:/recovery/media/old.qcow2
somebody deletes the file /recovery/media/old.qcow2
run web
bring vda of web to recovery as /recovery/media/new.qcow2, without block 1
seed web from vda:/recovery/media/nowhere.qcow2
seed web from vda:/recovery/media/new.qcow2
run web
