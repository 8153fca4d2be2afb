# The controller dies right after the replica was powered off by an undo: the undo cannot go back any more, so it goes on.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
wait 1 min
fault at recovery.hypervisor.powerOff: crash-after
undo web
a controller starts
until everything has settled
expect web in Ready
expect web running
