# The replica does not start: the phase is recorded, so the operation waits for a person instead of pretending; a retry starts it.
vm web on production

protect web from production to recovery
run web
fault at recovery.hypervisor.start 2 times: fail
fail over web fencing by power-off
expect web in Failover
expect the last operation suspended
retry web
until everything has settled
expect web-replica running
undo web
