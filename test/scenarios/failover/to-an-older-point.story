# Failing over to the oldest of three points and back again: all points stay as they were, and the next run is incremental.
vm web on production

protect web from production to recovery
write web vda 1 first
run web
write web vda 1 second
run web
write web vda 1 third
run web
fail over web to P1 fencing by power-off
expect web-replica to hold first 1 in block 1 of vda
wait 3 min
undo web
write web vda 1 fourth
run web
expect 4 points of web
expect the log to say vda incremental 64.0 KiB
