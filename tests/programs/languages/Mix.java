// SPDX-License-Identifier: MIT
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Work that calls into the virtual machine: collections, exceptions, threads, reflection. Usage: Mix [ROUNDS] */
public class Mix {
	static volatile boolean stopping;

	static long deep(int depth, long n) {
		if (depth == 0) {
			if (n % 3 == 0)
				throw new IllegalStateException("n" + n);
			return n;
		}
		return deep(depth - 1, n) + 1;
	}

	static long round(long n) throws Exception {
		Map<String, Long> words = new HashMap<>();
		List<byte[]> garbage = new ArrayList<>();
		long sum = 0;

		for (int i = 0; i < 200; i++) {
			words.merge("word" + (n + i * i) % 17, 1L, Long::sum);
			garbage.add(new byte[2000]);
		}
		for (long i = n; i < n + 5; i++)
			try {
				sum += deep(30, i);
			} catch (IllegalStateException thrown) {
				sum += thrown.getStackTrace().length > 0 ? thrown.getMessage().length() : 0;
			}
		long[] beside = new long[1];
		Thread thread = new Thread(() -> beside[0] = "x".repeat((int) (n % 50)).hashCode());
		thread.start();
		thread.join();
		sum += (Integer) Math.class.getMethod("abs", int.class).invoke(null, (int) -n);
		for (Map.Entry<String, Long> word : new java.util.TreeMap<>(words).entrySet())
			sum = sum * 31 + word.getKey().hashCode() + word.getValue();
		return sum * 31 + beside[0];
	}

	public static void main(String[] arguments) throws Exception {
		long rounds = arguments.length > 0 ? Long.parseLong(arguments[0]) : -1;
		long checksum = 0;
		Thread main = Thread.currentThread();

		Runtime.getRuntime().addShutdownHook(new Thread(() -> {
			stopping = true;
			try {
				main.join();
			} catch (InterruptedException ignored) {
				return;
			}
			Runtime.getRuntime().halt(0);
		}));
		System.out.println(ProcessHandle.current().pid());
		for (long n = 0; n != rounds && !stopping; n++) {
			checksum = checksum * 31 + round(n);
			if (rounds < 0 && round(n) != round(n)) {
				System.err.println("two equal rounds gave different results");
				Runtime.getRuntime().halt(1);
			}
		}
		if (rounds >= 0)
			System.out.println("checksum " + checksum);
		System.out.println("EXIT-SUCCESS");
		System.out.flush();
	}
}
