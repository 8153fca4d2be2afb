# The host falls ill half-way through an undo, and somebody gives the undo up: what was done stays done, and asking again goes on from there.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
write web-replica vda 0-3 mine
fault at recovery.hypervisor.defineReplica 5 times: fail
undo web
expect the last operation suspended
cancel web
expect the last operation failed
undo web
expect the last operation succeeded
expect web on production running
run web
