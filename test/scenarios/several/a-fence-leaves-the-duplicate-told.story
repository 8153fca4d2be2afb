# Both replicas of one VM serve, which was expressly accepted. A fence around the source that is off anyway does not take back that the two may meet.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-near fencing by power-off
fail over web-far accepting the duplicate
expect web-far to be unfenced-source
fence web-far by power-off
expect web-far to be unfenced-source
undo web-near
fence web-far by power-off
expect web-far to be not unfenced-source
