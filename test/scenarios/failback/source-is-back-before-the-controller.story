# Production is lost, and its replica goes on to a new VM elsewhere. The controller dies right before that starts, and when it comes back the source serves again: neither the new VM nor the replica comes up beside it.
hosts production, recovery, spare
vm web on production

protect web from production to recovery
run web
production stops answering
fail over web
fail back web to a new VM web-2 on spare
fault at spare.hypervisor.start: crash-before
switch web over
production answers again
a controller starts
until everything has settled
expect the log to say web-2 on spare: gone
expect web-replica off
expect web in ReadyToSwitch
expect the last operation suspended with started-beside-source
expect web to be told web-replica could not be started again, so that it does not serve
shut down web on production
retry web
expect the last operation failed with source-serves
expect web-replica connected
switch web over
expect web-2 connected
