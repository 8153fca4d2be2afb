# A planned failover to the near replica fails, and so does the start of its source on the way back; the far replica takes over instead. Whoever then retries the way back finds the source left off beside the far one.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fault at near.store.createBranch 4 times: fail
fault at production.hypervisor.start 4 times: fail
fail over web-near as planned
expect the last operation suspended
fail over web-far
expect web-far connected
retry web-near
expect web on production off
expect the log to say web is left off, as web-far, of another replica of the VM, had taken its place
expect web-near to be source-left-fenced
undo web-far
start web on production
run web-near
