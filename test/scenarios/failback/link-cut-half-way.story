# The link is cut while the bulk is copied and stays away longer than anybody tries again: the failback gives up, production is as it was, and the second attempt moves what differs.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
write web-replica vda 0-60 by the replica
link between production and recovery carries 256 KiB a second
begin fail back web
wait 3 s
link between production and recovery is cut
until everything has settled
expect web in Failover
expect web-replica running
link between production and recovery is back
link between production and recovery carries 100 MiB a second
fail back web
expect web in ReadyToSwitch
switch web over
commit the failback of web
run web
expect web in Ready
