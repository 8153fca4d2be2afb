# Somebody made production's disk smaller while the replica served: what it no longer has comes back with the failback, though no mark tells of it.
vm web on production

protect web from production to recovery
write web vda 40 at the far end
run web
fail over web fencing by power-off
disk vda of web becomes 1 MiB
write web-replica vda 5 by the replica
fail back web
switch web over
expect web on production to hold at the far end 40 in block 40 of vda
expect web on production to hold by the replica 5 in block 5 of vda
commit the failback of web
run web
expect web in Ready
