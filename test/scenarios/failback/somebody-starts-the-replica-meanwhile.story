# The controller dies in the middle of a switchover, when the replica has been shut down. Somebody starts it by hand, and it writes. Production does not take over without that: the switchover goes back, and the next one brings it home.
vm web on production: ledger every 10 s

protect web from production to recovery
run web
fail over web fencing by power-off
fail back web
fault at production.hypervisor.vm: crash-before
switch web over
start web-replica
write web-replica vda 0-3 late
a controller starts
until everything has settled
expect web-replica running
switch web over
expect web on production running
