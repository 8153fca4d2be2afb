# A copy of the disk is carried to the target. The first run sends what differs from it and no more; the copy stays as it was, and is not needed any more.
vm web on production
bring vda of web to recovery as /recovery/media/web.qcow2, without block 3
write web vda 5 changed after the copy
protect web from production to recovery: seed vda:/recovery/media/web.qcow2
run web
somebody deletes the file /recovery/media/web.qcow2
write web vda 6 later
run web
verify web
