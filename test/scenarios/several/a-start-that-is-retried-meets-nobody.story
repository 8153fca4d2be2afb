# The near replica was to take over and does not start; the far one takes over instead. Whoever then retries the near one's start is told that it would meet the far one.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fault at near.hypervisor.start 2 times: fail
fail over web-near fencing by power-off
expect the last operation suspended
fail over web-far
expect web-far connected
retry web-near
expect web-near off
undo web-far
retry web-near
expect web-near connected
