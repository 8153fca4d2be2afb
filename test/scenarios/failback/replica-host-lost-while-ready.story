# The replica's host loses power while everything is ready to switch: the change marks of the replica are gone with it, so the next pass looks at all of its branch again and loses nothing.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
write web-replica vda 5 by the replica
fail back web
write web-replica vda 6 written after phase one
power loss at recovery
expect web in ReadyToSwitch
start web-replica
switch web over
expect web in Failback
expect web on production to hold written after phase one 6 in block 6 of vda
commit the failback of web
run web
