# The production host loses power while the bulk is copied to it, and its agent with all it served: the copy is tried again and comes to its end.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
write web-replica vda 0-60 by the replica
link between production and recovery carries 256 KiB a second
begin fail back web
wait 3 s
power loss at production
until everything has settled
expect web-replica running
link between production and recovery carries 100 MiB a second
fail back web
expect web in ReadyToSwitch
switch web over
expect web on production to hold by the replica 33 in block 33 of vda
commit the failback of web
run web
