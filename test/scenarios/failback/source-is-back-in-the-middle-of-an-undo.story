# The controller dies while the undo of a failback stops production, which stands elsewhere, and when it comes back somebody has started the source. What was seen before says nothing any more: the replica does not come up beside it.
hosts production, recovery, spare
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
fail back web to a new VM web-2 on spare
switch web over
fault at spare.hypervisor.shutdown: crash-after
undo the failback of web
expect web-2 off
start web on production
a controller starts
until everything has settled
expect web-replica off
expect the last operation suspended with started-beside-source
shut down web on production
retry web
expect web-replica connected
