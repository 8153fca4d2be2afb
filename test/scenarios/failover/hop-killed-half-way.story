# The controller dies in the middle of a hop, between the old branch and the new one: the replica ends up on exactly one of them.
vm web on production

protect web from production to recovery
run web
write web vda 1 second
run web
fail over web fencing by power-off
fault at recovery.hypervisor.defineReplica: crash-before
hop web to P1
a controller starts
until everything has settled
expect web-replica running
undo web
run web
