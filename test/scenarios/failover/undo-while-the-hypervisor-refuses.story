# The replica's process does not die when it is powered off: the undo stays suspended, the source stays fenced, and it ends when the process does.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
fault at recovery.hypervisor.powerOff 4 times: fail
undo web
expect web in Failover
expect web on production off
undo web
expect web in Ready
expect web on production running
