# A switchover is taken back, the replica does not start, and a person gives that up: nobody serves. Giving the failback up, too, brings the replica back.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
fail back web
fault at production.hypervisor.start 2 times: fail
fault at recovery.hypervisor.start 4 times: fail
switch web over
expect the last operation suspended
cancel web
expect web-replica off
cancel the failback of web
expect web-replica connected
expect web to be not switchover-failed
undo web
expect web on production running
