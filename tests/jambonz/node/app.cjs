// The same menu with either of the official packages: 1 asks again, 9 says goodbye. Prints the port it listens on.
const {createServer} = require('http');

const {createEndpoint} = require(process.argv[2]);

const server = createServer();
const makeService = createEndpoint({server, port: 0});
const service = makeService({path: '/jambonz'});

const ask = (session) => session.gather({input: ['digits'], numDigits: 1, timeout: 20, actionHook: '/menu'});

service.on('session:new', (session) => {
  session.on('/menu', (event) => {
    if (event.digits === '9') session.say({text: 'Goodbye.'}).hangup().reply();
    else ask(session).reply();
  });
  session.on('close', () => console.log('closed'));
  session.on('error', (error) => console.log('error', error));
  ask(session.answer()).send();
});

if (!server.listening) server.listen(0, '127.0.0.1');
server.on('listening', () => console.log('port', server.address().port));
