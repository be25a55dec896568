# SPDX-License-Identifier: MIT
. "$programs/lib.sh"
want java javac
cat > Case.java <<'SRC'
import java.util.*;
import java.nio.*;

class Case {
	public static void main(String[] args) throws Exception {
		List<ByteBuffer> keep = new ArrayList<>();
		Map<String, Integer> map = new TreeMap<>();
		for (int i = 0; i < 200; i++) {
			ByteBuffer b = ByteBuffer.allocateDirect(65536);
			while (b.hasRemaining())
				b.put((byte) i);
			keep.add(b);
			map.put("key " + i, i);
		}
		Thread.sleep(500);
		long sum = 0;
		for (ByteBuffer b : keep)
			for (int i = 0; i < b.capacity(); i++)
				sum += b.get(i);
		System.out.println(sum + " " + map.hashCode());
	}
}
SRC
javac -J-Xshare:auto -J-XX:TieredStopAtLevel=1 -d . Case.java
java -Xmx128m -XX:+UseSerialGC -cp . Case
