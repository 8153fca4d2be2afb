# The host of the near replica is silent while the far one takes over and goes home. Nobody is kept waiting for it; that two may serve is told until it is seen that they do not, also after the commit.
the scheduler runs
hosts production, near, far
vm web on production

protect web from production to near: every 24 h, named -near
protect web from production to far: every 24 h, named -far
run web-near
run web-far
fail over web-near fencing by power-off
near stops answering
fail over web-far
expect web-far connected
expect web-far to be unfenced-source
fail back web-far
switch web-far over
undo the failback of web-far
expect web-far running
expect web-far to be unfenced-source
fail back web-far
switch web-far over
commit the failback of web-far
expect web-far to be unfenced-source
wait 1 min
expect web-far to be unfenced-source
near answers again
wait 1 min
expect web-far to be unfenced-source
expect web-near to be source-returned
undo web-near
wait 1 min
expect web-far to be not unfenced-source
run web-near
run web-far
