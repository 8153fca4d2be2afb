# The failback of the near replica awaits its decision, and the far one is failed over as a trial: layers over layers could not be merged one without the other, so that it does not go home to the same VM before.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-near fencing by shutdown
fail back web-near
switch web-near over
write web vda 7 after the switchover
fail over web-far
expect web-far disconnected
fail back web-far
expect the last operation failed with failback-refused
commit the failback of web-near
undo web-far
run web-near
run web-far
