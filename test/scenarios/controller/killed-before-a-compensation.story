# A failover fails for good when it defines the replica, and the controller dies while it takes the branch away again: its successor finishes the way back.
vm web on production

protect web from production to recovery
run web
fault at recovery.hypervisor.defineReplica 4 times: fail
fault at recovery.store.deleteBranch: crash-before
fail over web fencing by power-off
a controller starts
until everything has settled
expect web in Ready
expect web running
run web
