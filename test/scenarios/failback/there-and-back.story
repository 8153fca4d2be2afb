# The whole way home: production is copied to while the replica serves, takes over, is committed; the next run is incremental and no write of the replica is lost.
vm web on production

protect web from production to recovery
run web
write web vda 1-4 before the disaster
run web
fail over web fencing by power-off
wait 1 h
write web-replica vda 10 by the replica
fail back web
expect web in ReadyToSwitch
expect web-replica running
try to start web on production
wait 5 min
switch web over
expect web in Failback
expect web on production running
expect web-replica off
expect web on production to hold by the replica 10 in block 10 of vda
expect the ledger of web on production to reach 65
wait 10 min
commit the failback of web
expect web in Ready
run web
expect the log not to say resync
