# A failover that cut its source off fails, and its fence cannot be lifted at once; meanwhile the other replica takes the VM's place. The source stays without network, which the replica remembers, so that its next way back connects it.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fault at far.store.createBranch 5 times: fail
fault at production.hypervisor.setNicsConnected number 2: fail
fault at production.hypervisor.setNicsConnected number 3: fail
fault at production.hypervisor.setNicsConnected number 4: fail
fault at production.hypervisor.setNicsConnected number 5: fail
fail over web-far fencing by nics
expect the last operation suspended
expect web on production disconnected
fail over web-near
expect web-near connected
retry web-far
expect web on production disconnected
expect web-far to be source-left-fenced
expect the log to say web is left without network, as web-near, of another replica of the VM, had taken its place
undo web-near
expect web-far to be source-left-fenced
fail over web-far
expect web-far connected
undo web-far
expect web on production connected
the sources are looked at
expect web-far to be not source-left-fenced
