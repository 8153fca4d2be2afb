# Somebody touches a sealed layer without changing it: no write to the chain and no failover until a repair has read that layer again.
vm web on production

protect web from production to recovery
run web
run web
somebody touches the layer of vda in P1
run web
expect the last operation failed with replica-drifted
fail over web fencing by power-off
expect the last operation failed with replica-drifted
expect web in Ready
repair web
run web
expect the last operation succeeded
