# Production stands elsewhere, and the source, which was powered off, is started by somebody. The failback is not undone beside it: the replica would meet it.
hosts production, recovery, spare
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
fail back web to a new VM web-2 on spare
switch web over
kill web-2
start web on production
undo the failback of web
expect the last operation failed with source-serves
expect web in Failback
expect web-replica off
shut down web on production
undo the failback of web
expect web-replica connected
