# The replica's host goes dark when the last delta has been moved: production has every byte, so it takes over all the same. That the replica could be started by hand there is told, and made up for as soon as the host answers again.
vm web on production: ledger every 1 s

the scheduler runs
protect web from production to recovery
run web
fail over web fencing by power-off
fail back web
write web-replica vda 0-40 busy
fault at production.hypervisor.vm number 1: slow by 30 s
begin switch web over
until the fault has struck
wait 10 s
recovery stops answering
until everything has settled
expect web in Failback
expect web on production running
expect web on production connected
expect web to be replica-startable
expect web on production to hold busy 12 in block 12 of vda
commit the failback of web
expect web in Failback
recovery answers again
wait 2 min
until everything has settled
expect web to be not replica-startable
try to start web-replica
expect web-replica off
commit the failback of web
expect web in Ready
run web
