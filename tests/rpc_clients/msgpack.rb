# Ruby's msgpack.
require 'msgpack'
require 'socket'

port, stream = ARGV
$socket = TCPSocket.new('127.0.0.1', port.to_i)
$unpacker = MessagePack::Unpacker.new($socket)
$msgid = 0

def call(method, *params)
  $socket.write([0, $msgid += 1, method, params].to_msgpack)
  _, answered, error, result = $unpacker.read
  raise "answered #{answered}" if answered != $msgid
  raise error if error
  result
end

puts call('ping')
puts call('publish', stream, 'call')['offset']
$socket.write([2, 'publish', [stream, 'notification']].to_msgpack)
begin
  call('nonsense')
rescue RuntimeError => error
  puts error.message
end
puts call('publish', stream, 'ä' * 35_000)['offset']
puts call('publish', stream, [255, 0].pack('C*') * 35_000)['offset']
puts call('push_data', { 'from' => 'msgpack' }).inspect
