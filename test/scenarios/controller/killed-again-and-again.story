# The controller dies four times in one failover, each time at another step; the branch is made once and the replica started once.
vm web on production

protect web from production to recovery
run web
fault at production.hypervisor.powerOff: crash-after
fail over web fencing by power-off
fault at recovery.store.createBranch: crash-after
a controller starts
until everything has settled
fault at recovery.hypervisor.defineReplica: crash-before
a controller starts
until everything has settled
fault at recovery.hypervisor.start: crash-after
a controller starts
until everything has settled
a controller starts
until everything has settled
expect web in Failover
expect web-replica running
undo web
