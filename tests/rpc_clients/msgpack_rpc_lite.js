// npm's msgpack-rpc-lite.
const { createClient } = require('msgpack-rpc-lite');

const [port, stream] = process.argv.slice(2);
const client = createClient(Number(port), '127.0.0.1');
const call = async (...args) => (await client.request(...args))[0];
const publish = async (payload) => (await call('publish', stream, payload)).offset;

async function main() {
    console.log(await call('ping'));
    console.log(await publish('call'));
    await client.notify('publish', stream, 'notification');
    try {
        await call('nonsense');
    } catch (error) {
        console.log(error);
    }
    console.log(await publish('ä'.repeat(35000)));
    console.log(await publish(Buffer.from('ff00'.repeat(35000), 'hex')));
    console.log(await call('push_data', { from: 'msgpack-rpc-lite' }));
    client.close();
}

main();
