# A switchover is taken back, and the replica does not start. A person gives that up and starts it by hand: from then on the condition does not say any more that nobody serves.
vm web on production

the scheduler runs
protect web from production to recovery
run web
fail over web fencing by power-off
fail back web
fault at production.hypervisor.start 2 times: fail
fault at recovery.hypervisor.start 4 times: fail
switch web over
expect the last operation suspended
expect web to be told web-replica could not be started again, so that it does not serve
cancel web
wait 1 min
expect web to be told web-replica could not be started again, so that it does not serve
start web-replica
wait 1 min
expect web to be told web-replica runs by now
switch web over
expect web to be not switchover-failed
expect web on production running
