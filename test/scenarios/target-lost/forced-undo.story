# Nobody can wait for the target: a forced undo makes the replica Ready, replicates nothing to it, and cleans up by itself when the host is back.
the scheduler runs
vm web on production

protect web from production to recovery: every 30 min
wait 2 min
fail over web fencing by power-off
recovery stops answering
undo web by force
expect web in Ready
expect web to be cleanup-pending
expect web on production running
accept the duplicate of web on production
wait 40 min
expect 1 point of web
recovery answers again
wait 40 min
expect web to be not cleanup-pending
expect web-replica off
