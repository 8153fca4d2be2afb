# A planned failover: the ledger of the replica goes on exactly where the source stopped.
vm web on production: ledger every 1 s

protect web from production to recovery
wait 2 min
fail over web as planned
expect web in Failover
expect web on production off
wait 1 min
undo web
expect web on production running
run web
