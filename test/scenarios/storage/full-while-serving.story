# The storage fills up while the replica serves: its guest waits, as on any full disk, and goes on when there is room; no restore point is touched.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
storage of recovery has 128 KiB left
write web-replica vda 0-10 filled
expect web-replica paused
storage of recovery has 100 MiB left
undo web
run web
expect 2 points of web
