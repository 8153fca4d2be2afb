# Somebody has restored production elsewhere from another backup: only what differs from it is copied, and it becomes production.
hosts production, recovery, spare
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
somebody restores web as web-copy on spare
write web-replica vda 5 by the replica
fail back web to the copy web-copy on spare
switch web over
expect web-copy on spare running
expect web-copy to hold by the replica 5 in block 5 of vda
expect web off
commit the failback of web
run web-copy
