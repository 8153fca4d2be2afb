# Replication leaves a reserve of the target's storage free: a run that turns out larger than expected ends there, and one that is
# known to need more does not begin. Who serves or fails over is not refused for it, and with room the next run has everything.
vm web on production

protect web from production to recovery: keep 3, at most 1 MiB a second
run web
write web vdb 0-60 more
storage of recovery has 2.1 MiB left
run web
expect the last operation failed with target-full
expect the log to say 102 KiB are free
storage of recovery has 100 MiB left
run web
write web vdb 0-60 and-more
run web
write web vdb 0-60 still-more
run web
expect 3 points of web

storage of recovery has 3 MiB left
write web vdb 0-60 last
run web
expect the last operation failed with target-full
expect the log to say find-room failed
expect no guest to have been paused
fail over web fencing by power-off
write web-replica vda 0-44 served
expect web-replica running
undo web
storage of recovery has 100 MiB left
run web
expect 3 points of web
