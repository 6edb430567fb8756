// SPDX-License-Identifier: MIT
'use strict';
// Work for node's event loop, collector and libraries. Usage: mix.js [ROUNDS]
const crypto = require('crypto');
const zlib = require('zlib');

const rounds = process.argv.length > 2 ? Number(process.argv[2]) : -1;
let stopping = false;
let checksum = '';

function round(n) {
	const data = JSON.stringify(Array.from({ length: 50 }, (_, i) => ({ i, text: 'x'.repeat((n + i) % 9) })));
	const packed = zlib.deflateSync(data);

	if (zlib.inflateSync(packed).toString() !== data)
		throw new Error('what was packed differs');
	return crypto.createHash('sha256').update(checksum + data).digest('hex');
}

function next(n) {
	if (n === rounds || stopping) {
		console.log('checksum ' + (rounds < 0 ? '' : checksum));
		console.log('EXIT-SUCCESS');
		return;
	}
	checksum = round(n);
	setTimeout(() => setImmediate(() => next(n + 1)), 1);
}

process.on('SIGTERM', () => { stopping = true; });
console.log(String(process.pid));
next(0);
