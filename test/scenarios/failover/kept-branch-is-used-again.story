# Undone too early: what the replica wrote is in the kept branch, and a second failover goes on from exactly there.
vm web on production: ledger every 10 s

protect web from production to recovery
wait 5 min
run web
fail over web fencing by power-off
wait 5 min
write web-replica vda 5 precious
undo web
fail over web to archive B1
expect web-replica to hold precious 5 in block 5 of vda
undo web
run web
