# The undo of a failback is forced while the other replica serves: it is done, and told.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-near fencing by shutdown
fail back web-near
switch web-near over
fail over web-far fencing by power-off
expect web-far connected
undo the failback of web-near
expect the last operation failed with sibling-serves
undo the failback of web-near by force
expect web-near connected
expect web-near to be unfenced-source
