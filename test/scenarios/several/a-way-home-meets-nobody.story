# Two replicas of one VM: the near one is on its way home when the far one takes over. Nothing comes onto the network beside it until it is gone.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-near fencing by shutdown
fail back web-near
run web-far
switch web-near over
run web-far
fail over web-far fencing by power-off
expect web-far connected
undo the failback of web-near
expect the last operation failed with sibling-serves
expect web-near off
undo web-far
expect web on production running
undo the failback of web-near
expect web on production off
expect web-near running
undo web-near
run web-near
run web-far
