# A switchover to a new VM was cut off, and the source serves again by the time that the controller is back. Whoever lets the source serve on gives the failback up and undoes the failover.
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
expect the last operation suspended with started-beside-source
cancel the failback of web
expect web in Failover
undo web
expect web in Ready
run web
expect web on production connected
