# The controller dies when it has shut the source down: its successor takes the last delta of exactly that state, and fails over.
vm web on production: ledger every 1 s

protect web from production to recovery
wait 1 min
fault at production.hypervisor.shutdown: crash-after
fail over web as planned
a controller starts
until everything has settled
expect web in Failover
expect web on production off
undo web
