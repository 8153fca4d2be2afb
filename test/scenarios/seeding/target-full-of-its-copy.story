# The seed holds more than the source, and the target has no room for its copy. The run fails and leaves nothing; with room it works.
vm web on production
vm old on production
write old vda 8-60 kept
bring vda of old to recovery as /recovery/media/web.qcow2
protect web from production to recovery: seed vda:/recovery/media/web.qcow2
storage of recovery has 1 MiB left
run web
storage of recovery has 8 MiB left
run web
