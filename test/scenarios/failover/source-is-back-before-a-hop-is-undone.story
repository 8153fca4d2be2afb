# The controller dies in the middle of a hop, which then comes to nothing. By then the source serves again: the replica does not come up beside it on its old branch.
vm web on production

protect web from production to recovery
run web
write web vda 1 second
run web
production stops answering
fail over web
fault at recovery.hypervisor.defineReplica: crash-before
hop web to P1
production answers again
fault at recovery.hypervisor.defineReplica 4 times: fail
a controller starts
until everything has settled
expect web-replica off
expect the last operation suspended with started-beside-source
shut down web on production
retry web
expect the last operation failed
expect web-replica connected
