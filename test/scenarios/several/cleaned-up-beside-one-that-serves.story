# The far replica is given up by force while its host is away, and its source stays off; the near one takes over. When the far host is back and cleaned up, nobody is said to be on the network beside the near one: the source is off.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-near fencing by power-off
near stops answering
fail over web-far
expect web-far to be unfenced-source
near answers again
undo web-near
far stops answering
undo web-far by force, keeping the fence
fail over web-near
expect web-near connected
far answers again
sweep
until everything has settled
expect web-far off
expect web off
expect web-far to be not unfenced-source
undo web-near
