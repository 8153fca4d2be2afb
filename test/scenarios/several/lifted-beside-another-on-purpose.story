# One replica of a VM is tried without network, its source fenced; the other one serves. Whoever lifts the fence and accepts a duplicate gets the source beside the one that serves, and both replicas' owners can see it.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-near
fence web-near by power-off
fail over web-far
expect web-far connected
lift the fence of web-near
expect the last operation failed with sibling-serves
lift the fence of web-near accepting the duplicate
expect web on production connected
expect web-near to be unfenced-source
undo web-far
the sources are looked at
expect web-far in Ready
