# The failover had cut the source off by its NICs, so that it ran on. A failback stopped it and was given up: the undo brings it back as it was before both, running and connected.
vm web on production

protect web from production to recovery
run web
fail over web fencing by nics
expect web on production running
fail back web
expect web on production off
cancel the failback of web
undo web
expect web on production running
expect web on production connected
run web
