# The controller dies after the branch was made and before the replica was started; its successor finishes the failover.
vm web on production

protect web from production to recovery
run web
fault at recovery.store.createBranch: crash-after
fail over web fencing by power-off
a controller starts
until everything has settled
expect web in Failover
expect web-replica running
undo web
expect web running
