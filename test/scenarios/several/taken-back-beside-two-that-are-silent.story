# Neither the source nor the near replica can be asked when the far one takes over, and a switchover to another place is taken back: both are told before and after.
hosts production, near, far, spare
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-near fencing by power-off
near stops answering
production stops answering
fail over web-far
expect web-far to be told the source host does not answer
fail back web-far to a new VM web-2 on spare
fault at spare.hypervisor.start 2 times: fail
switch web-far over
expect web-far connected
expect web-far to be told the source host does not answer
