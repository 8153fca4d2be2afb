# The far replica was tried beside the near one, whose host falls silent then. The undo gives the source its network back, and tells that the near one may be there, too.
the scheduler runs
hosts production, near, far
vm web on production

protect web from production to near: every 24 h, named -near
protect web from production to far: every 24 h, named -far
run web-near
run web-far
fail over web-near
expect web-near disconnected
fail over web-far fencing by nics
near stops answering
undo web-far
expect web on production running
expect web-far to be unfenced-source
near answers again
wait 1 min
expect web-far to be not unfenced-source
