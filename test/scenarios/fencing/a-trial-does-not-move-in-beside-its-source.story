# A replica was tried beside its running source, and is to be brought home to another place: two machines would answer for one address. Refused until the source is fenced; and again at the switchover, while the replica still serves.
hosts production, recovery, spare
vm web on production

protect web from production to recovery
run web
fail over web
expect web-replica disconnected
fail back web to a new VM web-2 on spare
expect the last operation failed with source-serves
expect web in Failover
fence web by shutdown
fail back web to a new VM web-2 on spare
expect web in ReadyToSwitch
accept the duplicate of web
start web on production
switch web over
expect the last operation failed with source-serves
expect web in ReadyToSwitch
expect web-replica running
shut down web on production
switch web over
expect web-2 connected
expect web to be not unfenced-source
commit the failback of web
